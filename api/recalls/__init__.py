"""What a withdrawal means for models already made: shares of cohorts, recall, retraining notices, impact."""
