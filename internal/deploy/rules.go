package deploy

import (
	"bytes"
	"fmt"
	"strings"
)

// rulesHead is the object of Kubernetes around the alerts.
const rulesHead = `# The alerts of ../prometheus/alerts.yaml for the Prometheus operator. Written by go test ./internal/deploy -update; do
# not edit.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: {name: afgen}
spec:
`

// PrometheusRule returns a file of alerts as an object for the Prometheus operator.
func PrometheusRule(alerts []byte) ([]byte, error) {
	_, groups, ok := strings.Cut(string(alerts), "\ngroups:\n")
	if !ok {
		return nil, fmt.Errorf("the alerts have no line %q", "groups:")
	}
	var b bytes.Buffer
	b.WriteString(rulesHead + "  groups:\n")
	for line := range strings.Lines(groups) {
		if line != "\n" {
			line = "  " + line
		}
		b.WriteString(line)
	}
	return b.Bytes(), nil
}
