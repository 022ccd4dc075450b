"""The processes of one run: started, told apart, agreeing with each other, and asked to stop."""
