"""The engine's own tests, room by room, on a project that is not the default one."""
