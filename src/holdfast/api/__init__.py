"""Doors over HTTP. Needs the extra ``api`` (Starlette, uvicorn)."""
