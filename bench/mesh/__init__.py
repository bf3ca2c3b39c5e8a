"""`./dev bench mesh`: calls through real Envoys, and the control plane behind them."""
