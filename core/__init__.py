"""Plain types that every layer may import. Nothing here imports torch, streamlit or plotly."""
