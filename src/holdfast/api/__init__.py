"""The HTTP interface, the console, and chats: Holdfast for people and programs elsewhere."""
