"""Pictures and sounds as features: read, prepared as their encoder wants them, encoded, cached."""
