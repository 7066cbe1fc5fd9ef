"""Operations in flight; nothing here is for other compiled modules."""
