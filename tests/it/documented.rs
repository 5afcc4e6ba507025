//! What derives from the routes: API reference, role matrix, gateway.
