"""Measurements, as ratios and side by side; never asserted in a test."""
