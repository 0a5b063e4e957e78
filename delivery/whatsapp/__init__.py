"""WhatsApp: templates, what goes to providers, and the window in which people may be written to freely."""
