package deploy

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/health"
	"github.com/afgen/afgen/runtime/instrument/metric"
)

const manifests = dir + "/kubernetes/"

// The types below have the keys that the manifests use; others are refused.

type meta struct {
	Name, Namespace string
	Labels          map[string]string
}

type labelSelector struct {
	MatchLabels map[string]string `yaml:"matchLabels"`
}

type object[Spec any] struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   meta
	Spec       Spec
}

type deployment struct {
	Replicas int
	Selector labelSelector
	Strategy struct {
		RollingUpdate struct {
			MaxSurge       int `yaml:"maxSurge"`
			MaxUnavailable int `yaml:"maxUnavailable"`
		} `yaml:"rollingUpdate"`
	}
	Template struct {
		Metadata meta
		Spec     pod
	}
}

type pod struct {
	Grace    int            `yaml:"terminationGracePeriodSeconds"`
	Token    bool           `yaml:"automountServiceAccountToken"`
	Security map[string]any `yaml:"securityContext"`
	Spread   []struct {
		MaxSkew           int           `yaml:"maxSkew"`
		TopologyKey       string        `yaml:"topologyKey"`
		WhenUnsatisfiable string        `yaml:"whenUnsatisfiable"`
		LabelSelector     labelSelector `yaml:"labelSelector"`
	} `yaml:"topologySpreadConstraints"`
	Containers []container
	Volumes    []struct {
		Name      string
		ConfigMap meta `yaml:"configMap"`
	}
}

type container struct {
	Name, Image string
	Args        []string
	Ports       []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
	Env []struct {
		Name, Value string
		ValueFrom   map[string]map[string]string `yaml:"valueFrom"`
	}
	EnvFrom []struct {
		SecretRef meta `yaml:"secretRef"`
	} `yaml:"envFrom"`
	Startup   probe `yaml:"startupProbe"`
	Readiness probe `yaml:"readinessProbe"`
	Liveness  probe `yaml:"livenessProbe"`
	Lifecycle struct {
		PreStop struct {
			Sleep struct{ Seconds int }
		} `yaml:"preStop"`
	}
	Resources    struct{ Requests, Limits map[string]string }
	Security     map[string]any `yaml:"securityContext"`
	VolumeMounts []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
		ReadOnly  bool   `yaml:"readOnly"`
	} `yaml:"volumeMounts"`
}

type probe struct {
	HTTPGet          struct{ Path, Port string } `yaml:"httpGet"`
	PeriodSeconds    int                         `yaml:"periodSeconds"`
	TimeoutSeconds   int                         `yaml:"timeoutSeconds"`
	FailureThreshold int                         `yaml:"failureThreshold"`
}

func readDeployment(t *testing.T) (deployment, container) {
	t.Helper()
	var d object[deployment]
	decode(t, manifests+"deployment.yaml", &d)
	if len(d.Spec.Template.Spec.Containers) != 1 {
		t.Fatal(d)
	}
	return d.Spec, d.Spec.Template.Spec.Containers[0]
}

// Kubernetes waits longer than the drain and what precedes it, before it kills.
func TestPodsMayDrain(t *testing.T) {
	d, c := readDeployment(t)
	grace := time.Duration(d.Template.Spec.Grace) * time.Second
	need := drainTime(t) + time.Duration(c.Lifecycle.PreStop.Sleep.Seconds)*time.Second
	if grace <= need || grace > need+10*time.Second {
		t.Errorf("the grace period is %v, the drain takes %v with preStop", grace, need)
	}
}

// Probes ask for paths that package health serves, on a port of the container. The liveness probe does not depend on
// servers, and lets a process that starts slowly live.
func TestProbesAreServed(t *testing.T) {
	app, err := af.Open(t.Context(), memory.New())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := app.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, c := readDeployment(t)
	ports := map[string]int{}
	for _, p := range c.Ports {
		ports[p.Name] = p.ContainerPort
	}
	for path, p := range map[string]probe{"/livez": c.Startup, "/readyz": c.Readiness} {
		if p.HTTPGet.Path != path {
			t.Errorf("a probe asks for %s, want %s", p.HTTPGet.Path, path)
		}
	}
	if c.Liveness.HTTPGet.Path != c.Startup.HTTPGet.Path || c.Liveness.FailureThreshold < 3 {
		t.Errorf("liveness: %+v", c.Liveness)
	}
	for _, p := range []probe{c.Startup, c.Readiness, c.Liveness} {
		w := httptest.NewRecorder()
		health.Handler(app).ServeHTTP(w, httptest.NewRequest(http.MethodGet, p.HTTPGet.Path, nil))
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d", p.HTTPGet.Path, w.Code)
		}
		if ports[p.HTTPGet.Port] == 0 {
			t.Errorf("the container has no port %s: %v", p.HTTPGet.Port, ports)
		}
	}
	if d := time.Duration(c.Startup.PeriodSeconds*c.Startup.FailureThreshold) * time.Second; d < 30*time.Second {
		t.Errorf("a process may take %v to start", d)
	}
}

// The program's configuration uses variables that the pod has, and all of them but those of Go.
func TestConfigHasItsVariables(t *testing.T) {
	d, c := readDeployment(t)
	variables := map[string]string{}
	for _, e := range c.Env {
		value := e.Value
		if path := e.ValueFrom["fieldRef"]["fieldPath"]; path == "status.podIP" {
			value = "10.1.2.3"
		}
		if value == "" {
			t.Errorf("the variable %s has no value", e.Name)
		}
		if e.Name != "GOMEMLIMIT" {
			variables[e.Name] = value
		}
	}
	var secret struct {
		APIVersion string `yaml:"apiVersion"`
		Kind, Type string
		Metadata   meta
		StringData map[string]string `yaml:"stringData"`
	}
	decode(t, manifests+"secret.yaml", &secret)
	if len(c.EnvFrom) != 1 || c.EnvFrom[0].SecretRef.Name != secret.Metadata.Name {
		t.Errorf("the pod has the variables of %v, the secret is %s", c.EnvFrom, secret.Metadata.Name)
	}
	for name, value := range secret.StringData {
		if !strings.Contains(value, "change-me") {
			t.Errorf("the secret has a value for %s that looks real", name)
		}
		variables[name] = value
	}
	checkConfig(t, manifests+"config.yaml", variables)

	mount := c.VolumeMounts[0]
	volume := d.Template.Spec.Volumes[0].Name
	if file := mount.MountPath + "/config.yaml"; !slices.Contains(c.Args, file) || mount.Name != volume {
		t.Errorf("the arguments %v do not name %s, or the volume is not %s", c.Args, file, mount.Name)
	}
}

// Objects select the pods of the Deployment, and name its ports.
func TestObjectsSelectThePods(t *testing.T) {
	d, c := readDeployment(t)
	labels := d.Template.Metadata.Labels
	same := func(of string, selector map[string]string) {
		if len(labels) == 0 || !maps.Equal(selector, labels) {
			t.Errorf("%s selects %v, pods have %v", of, selector, labels)
		}
	}
	port := func(of, name string) {
		for _, p := range c.Ports {
			if p.Name == name {
				return
			}
		}
		t.Errorf("%s names the port %s, which pods have not", of, name)
	}
	same("the Deployment", d.Selector.MatchLabels)
	same("the spread", d.Template.Spec.Spread[0].LabelSelector.MatchLabels)

	var service object[struct {
		Selector map[string]string
		Ports    []struct {
			Name       string
			Port       int
			TargetPort string `yaml:"targetPort"`
		}
	}]
	decode(t, manifests+"service.yaml", &service)
	same("the Service", service.Spec.Selector)
	port("the Service", service.Spec.Ports[0].TargetPort)

	var budget object[struct {
		Selector       labelSelector
		MaxUnavailable int `yaml:"maxUnavailable"`
	}]
	decode(t, manifests+"disruption.yaml", &budget)
	same("the PodDisruptionBudget", budget.Spec.Selector.MatchLabels)
	if budget.Spec.MaxUnavailable < 1 || budget.Spec.MaxUnavailable >= d.Replicas {
		t.Errorf("%d of %d pods may be unavailable", budget.Spec.MaxUnavailable, d.Replicas)
	}

	var network object[struct {
		PodSelector labelSelector `yaml:"podSelector"`
		Types       []string      `yaml:"policyTypes"`
		Ingress     []struct {
			Ports []struct{ Port string }
			From  []struct {
				Namespace labelSelector `yaml:"namespaceSelector"`
			}
		}
	}]
	decode(t, manifests+"network.yaml", &network)
	same("the NetworkPolicy", network.Spec.PodSelector.MatchLabels)
	for _, in := range network.Spec.Ingress {
		port("the NetworkPolicy", in.Ports[0].Port)
		if in.Ports[0].Port == c.Liveness.HTTPGet.Port && len(in.From) == 0 {
			t.Error("all pods reach the probes")
		}
	}

	var monitor object[struct {
		Selector  labelSelector
		Endpoints []struct{ Port, Path, Interval string } `yaml:"podMetricsEndpoints"`
	}]
	decode(t, manifests+"podmonitor.yaml", &monitor)
	same("the PodMonitor", monitor.Spec.Selector.MatchLabels)
	port("the PodMonitor", monitor.Spec.Endpoints[0].Port)
}

// Pods have no rights that they don't need.
func TestPodsHaveFewRights(t *testing.T) {
	d, c := readDeployment(t)
	if d.Template.Spec.Token || d.Template.Spec.Security["runAsNonRoot"] != true ||
		c.Security["allowPrivilegeEscalation"] != false || c.Security["readOnlyRootFilesystem"] != true {
		t.Errorf("%v, %v", d.Template.Spec.Security, c.Security)
	}
	if c.Resources.Limits["cpu"] != "" || c.Resources.Limits["memory"] == "" || c.Resources.Requests["cpu"] == "" {
		t.Errorf("%+v", c.Resources)
	}
}

// kubectl apply -k applies every file but those that are not objects, and the secret.
func TestKustomizationHasTheFiles(t *testing.T) {
	var k struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Namespace  string
		Resources  []string
		Generators []struct {
			Name  string
			Files []string
		} `yaml:"configMapGenerator"`
	}
	decode(t, manifests+"kustomization.yaml", &k)
	want := append([]string{"kustomization.yaml", "secret.yaml"}, append(k.Generators[0].Files, k.Resources...)...)
	slices.Sort(want)
	entries, err := os.ReadDir(manifests)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, filepath.Base(e.Name()))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	d, _ := readDeployment(t)
	if name := d.Template.Spec.Volumes[0].ConfigMap.Name; name != k.Generators[0].Name {
		t.Errorf("the pod has the ConfigMap %s", name)
	}
}

// The scaler counts tasks by metrics of the table.
func TestScalerHasMetricsOfTheTable(t *testing.T) {
	text := string(read(t, dir+"/keda/scaledobject.yaml"))
	_, query, ok := strings.Cut(text, "query: >-\n")
	found := regexp.MustCompile(`\baf_\w+`).FindAllString(query, -1)
	if !ok || len(found) < 2 {
		t.Fatal(query)
	}
	for _, name := range found {
		if !slices.ContainsFunc(metric.All(), func(m metric.Metric) bool { return m.Prometheus() == name }) {
			t.Errorf("%s is no metric", name)
		}
	}
}
