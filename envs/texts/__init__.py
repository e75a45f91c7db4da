"""People who write: LaMP, LongLaMP and one's own records."""
