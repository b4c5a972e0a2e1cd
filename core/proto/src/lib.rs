//! SAID: wire words and names shared by the service, the device and the commands.
