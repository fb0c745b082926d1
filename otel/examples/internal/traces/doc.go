// Package traces has the tests that compare what an App does with its spans and metrics, on every backend: memory,
// embedded, and the servers. They are here and not in the module otel, since the drivers of the servers would become
// requirements of that module.
package traces
