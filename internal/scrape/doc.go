// Package scrape tests the files in the directory deploy with a real Prometheus: it scrapes running systems, and
// evaluates every query of the dashboard, the alerts and the documents. A query of a series that no program exports
// fails the test. promtool runs the tests of the alerts.
//
// One system exports its metrics with package metrics. The other one is the program of otel/examples, built and run as
// users do, with OpenTelemetry's exporter for Prometheus. The series of both must be those of the table in package
// runtime/instrument/metric, so that dashboard and alerts fit both.
//
// The go command does not notice changes in deploy, which is outside of the module: go test -count=1 ./...
//
// It is a module of its own, because it needs module metrics, which requires the root. It is never tagged. Without
// Prometheus (Debian: prometheus, which has promtool) its tests are skipped.
package scrape
