//! Everything that happens in a Firesteel application: one schema, its bus, the event log, the console
