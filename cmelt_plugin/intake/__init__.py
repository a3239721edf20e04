"""Any ECG file as calibrated millivolts, or a reasoned refusal: one reader a format, one contract for all of them."""
