"""Whisper v6: envelopes, what they hide, and the protocol that carries them (EIP-627).

envelope   an encrypted message with expiry, topic and proof of work
bloom      filters over topics
cipher     what is inside an envelope, to a shared key or to a public key
protocol   shh/6: status, envelopes both ways, requirements, confirmations
mail       history requests and their answers
sealed     answers that only who asked can read
"""
