"""The transparency ledger of the control plane: one log in PostgreSQL, written with every act, read by everybody."""
