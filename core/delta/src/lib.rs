//! REBUILT: the patch container and its codecs over std::io traits.
