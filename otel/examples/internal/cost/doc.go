// Package cost measures what instruments add to a call, a submission and a task, on every backend. It is here and not in
// the module otel, since the drivers of the servers would become requirements of that module.
package cost
