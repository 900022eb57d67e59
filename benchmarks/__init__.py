"""What waiting, submitting and importing cost, beside other providers. ``make bench`` runs it all."""
