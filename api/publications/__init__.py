"""What is published to enterprises: notices, policies, knowledge, answers; reviewed first, policies pushed by rule."""
