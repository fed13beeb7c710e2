"""Files become raw arrays, in processes of their own, and what is damaged is named."""
