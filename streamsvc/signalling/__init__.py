"""HTTP, WebSocket, rooms, auth, limits."""
