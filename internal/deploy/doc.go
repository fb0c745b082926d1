// Package deploy makes the Grafana dashboard in the directory deploy, and its tests check the other files there.
//
// panels.go declares the panels by metric of the table in runtime/instrument/metric, which has names, units and
// attributes. [Dashboard] turns them into the JSON that Grafana imports. It is deploy/grafana/afgen.json, which
// is written by
//
//	go test ./internal/deploy -update
//
// The tests of module internal/scrape evaluate each query of the file with Prometheus.
package deploy
