"""TLS on MicroPython: whom to trust."""

import tls


def trusting(certificates):
    """A client context that verifies the server by these certificates (DER). Raises ValueError."""
    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    for cert in certificates:  # small builds of mbedTLS read DER only, one at a time
        context.load_verify_locations(cert)
    context.verify_mode = tls.CERT_REQUIRED
    return context
