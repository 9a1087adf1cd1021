"""The libraries that hear, think and speak: one file each, and nothing else imports them."""
