"""Words on their way in and out: questions cleaned, answers cut into sentences and made speakable."""
