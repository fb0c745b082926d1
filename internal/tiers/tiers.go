package main

import (
	"cmp"
	"regexp"
	"slices"
)

// A tier is a set of tests with phases that run one after the other.
type tier struct {
	phases    []phase
	filler    lane // runs next to all phases
	servers   bool // it starts RabbitMQ, MongoDB and Redis
	keepGoing bool // after a failure
}

// A phase is a set of lanes that run in parallel.
type phase []lane

// A lane is a list of steps, one after the other.
type lane []step

// A step runs go test, or another command.
type step struct {
	name     string
	packages func(path string) bool // selects packages of ./...
	flags    []string               // of go test
	race     bool                   // with the race detector, if there is a C compiler
	command  []string               // instead of go test
	dir      string                 // of a nested module; "" is the root
	env      []string
	nice     bool // it leaves the processors to the other lanes
	idle     bool // it runs only while the processors have nothing else to do
	reduced  bool // only tests that do less with -short or with the race detector
}

// serverPackages are the packages whose tests need servers.
var serverPackages = regexp.MustCompile(
	`^(internal/(devstack(/.*)?|mongoproxy)|runtime/backend/(amqp|mongo|redis|servers)|` +
		`cmd/af/internal/oncall/overservers)$`)

// driverPackages are the packages whose tests need no server, and compile all the drivers.
var driverPackages = regexp.MustCompile(
	`^(cmd/af(/(internal/(cli|oncall)|man))?|examples(/(client|scenario|servers)(/.*)?)?|internal/snippets|runtime/backend/auto)$`)

// light matches packages whose tests need only Go.
func light(path string) bool { return !serverPackages.MatchString(path) }

// lightest matches light packages that compile no driver.
func lightest(path string) bool { return light(path) && !driverPackages.MatchString(path) }

// slowFirst sorts packages by the duration of their tests, longest first.
func slowFirst(packages []string) []string {
	slow := []string{"runtime/backend/embedded", "cmd/afgen", "runtime", "examples", "golden", "gen",
		"gen/emit", "internal/fault"}
	rank := func(path string) int {
		if i := slices.Index(slow, path); i >= 0 {
			return i
		}
		return len(slow)
	}
	slices.SortStableFunc(packages, func(a, b string) int { return cmp.Compare(rank(a), rank(b)) })
	return packages
}

// shortened are the other light packages whose tests do less with -short, or that omit what takes too long with the race
// detector. make test-all runs such tests again without it.
func shortened(path string) bool { return timed(path) || computing(path) }

// timed are the shortened packages whose tests wait, or whose time-outs are real.
var timed = only("cmd/af/internal/cli", "runtime/backend/embedded")

// computing are the other shortened packages. Their tests run in virtual time, or until they are done.
var computing = only("gen", "internal/fault", "runtime", "runtime/backend/memory")

// sequential are the light packages whose tests start other programs or check text, and the parts of the generator that
// start no goroutines: the race detector would find nothing in them. make test-all runs them once, at full length and
// without it.
var sequential = only("cmd/af", "cmd/af/internal/oncall", "cmd/af/man", "cmd/afgen", "gen/contract", "gen/diag",
	"gen/directive", "gen/emit", "gen/scan", "golden", "internal/archtest", "internal/release", "internal/tiers",
	"templates")

// only matches packages by their paths.
func only(paths ...string) func(string) bool {
	return func(path string) bool { return slices.Contains(paths, path) }
}

// raced runs the light tests with the race detector. It makes them several times slower, so repeated parts run less
// often (-short). Three packages run at a time, because some tests mostly wait for other processes.
func raced(packages func(string) bool) step {
	return step{name: "race detector", packages: packages, race: true, flags: []string{"-short", "-p=3"}}
}

// adapters are the suites of each server, in lanes that can run in parallel.
func adapters(name string, env ...string) []lane {
	return []lane{
		{{name: name, packages: only("runtime/backend/amqp"), race: true, env: env}},
		{
			{name: name, packages: only("runtime/backend/mongo", "runtime/backend/redis", "internal/mongoproxy"), race: true,
				env: env, flags: []string{"-p=2"}},
			{name: name, packages: only("internal/devstack", "internal/devstack/stack"), race: true, env: env,
				flags: []string{"-p=1"}},
		},
	}
}

// untimed are tests of all three servers in which no duration counts.
const untimed = "^(TestStormOfJobsTakesFewCommands|TestTLSAndMinimalPermissions|TestChaosKeepsPromises|" +
	"TestStartingUnderMemoryAlarm|TestProcessKilledInTransactionSubmitsNothing|TestDeploysChargeNothing|" +
	"TestJobsOverTheServers|TestCallsTasksAndSubtasksCrossTheServers|TestNightOnServers)$"

// together is the suite of all three servers: the untimed tests, and the others. These measure how soon tasks run again
// after a failure, so only idle steps run at the same time.
func together(name string, env ...string) (inParallel, alone step) {
	suite := step{name: name, packages: only("runtime/backend/servers", "cmd/af/internal/oncall/overservers"), race: true,
		env: env}
	inParallel, alone = suite, suite
	inParallel.flags, alone.flags = []string{"-run=" + untimed}, []string{"-skip=" + untimed}
	return inParallel, alone
}

// fuzz runs each fuzz target of some packages for a duration.
func fuzz(duration string) []step {
	var steps []step
	for _, f := range []struct{ pkg, name string }{
		{"runtime/internal/jobs", "FuzzJobDoc"}, {"runtime/internal/limits", "FuzzLimitsDoc"},
		{"runtime/internal/jobs", "FuzzFireDoc"},
		{"gen/directive", "FuzzScan"}, {"gen/contract", "FuzzParse"}, {"gen/diag", "FuzzRender"},
		{"gen/scan", "FuzzSignature"}, {"runtime/httpstatus", "FuzzRead"},
		{"runtime/backend/amqp", "FuzzSieve"}, {"runtime/backend/embedded", "FuzzCursor"},
		{"runtime/backend/memory", "FuzzCursor"}, {"runtime/backend/mongo", "FuzzCursor"},
		{"runtime/backend/embedded/internal/mesh", "FuzzFrame"}, {"runtime/config", "FuzzParse"},
		{"runtime/cron", "FuzzParse"}, {"runtime/backend", "FuzzPayloadMatch"},
		{"runtime/internal/child", "FuzzFrames"}, {"runtime/timefmt", "FuzzParse"}, {"gen/manifest", "FuzzManifest"},
		{"runtime/backend/internal/envelope", "FuzzEnvelope"}, {"runtime/backend/embedded/internal/mesh", "FuzzLink"},
		{"runtime/backend/amqp", "FuzzRequest"}, {"runtime/backend/amqp", "FuzzFieldsURL"},
		{"runtime/backend/servers", "FuzzURI"}, {"runtime/backend/servers", "FuzzConnURI"},
		{"runtime/admin/filter", "FuzzParse"}, {"cmd/af/internal/text", "FuzzShorten"}, {"internal/signature", "FuzzParameters"},
		{"runtime/dashboard", "FuzzJSONTree"},
	} {
		steps = append(steps, step{
			name: "fuzz " + f.pkg, packages: only(f.pkg),
			flags: []string{"-run=^$", "-fuzz=^" + f.name + "$", "-fuzztime=" + duration,
				"-fuzzminimizetime=10x"}, // otherwise most of the time goes into minimizing
		})
	}
	return steps
}

func tiers() map[string]tier {
	length := lane{
		{name: "full length", packages: sequential, flags: []string{"-p=2"}, nice: true},
		{name: "full length", packages: timed, flags: []string{"-p=2"}, nice: true, reduced: true},
	}
	simulations := step{name: "full length", packages: computing, flags: []string{"-p=2"}, idle: true, reduced: true}
	// These begin next to the race detector's step, which compiles other files. A step that compiles the same files at the
	// same time would compile many of them twice.
	filler := lane{
		{name: "lint", command: []string{"make", "lint"}, env: []string{"GOGC=" + lintGC}, idle: true},
		{name: "costs and bench", dir: "bench", flags: []string{"-p=1"}, idle: true},
	}
	// Its Apps have no more threads than those of other tests, which the race detector checks.
	pages := step{name: "browser", dir: "internal/browser", flags: []string{"-p=1"}}
	otel := step{name: "OpenTelemetry", dir: "otel", race: true, flags: []string{"-p=1"}, nice: true}
	traces := step{name: "OpenTelemetry", dir: "otel/examples", race: true, flags: []string{"-p=1"}, nice: true}
	// The go command does not notice that files outside of a module have changed, so its cached result may be wrong.
	queries := step{name: "queries", dir: "internal/scrape", race: true, flags: []string{"-p=1", "-count=1"}, nice: true}
	prometheus := step{name: "Prometheus", dir: "metrics", race: true, flags: []string{"-p=1"}, nice: true}
	inParallel, alone := together("servers")
	suites := append(adapters("servers"), length, lane{inParallel}, lane{otel, traces, prometheus, queries})
	concurrent := func(path string) bool { return light(path) && !sequential(path) }

	return map[string]tier{
		"test": {phases: []phase{{{raced(lightest)}}}},
		"all": {
			phases: []phase{{{raced(concurrent)}}, suites, {{alone, pages}, {simulations}}}, filler: filler,
			servers: true,
		},
		"rabbitmq4": {phases: []phase{rabbitmq4()}, servers: true},
		"long":      {phases: long(), servers: true, keepGoing: true},
	}
}

// rabbitmq4 runs the suites on RabbitMQ 4 and Redis 8 below AF_TEST_ROOT.
func rabbitmq4() phase {
	return phase{{
		{name: "RabbitMQ 4 and Redis 8",
			packages: only("runtime/backend/amqp", "runtime/backend/redis", "runtime/backend/servers"),
			race:     true, flags: []string{"-p=1"}},
	}}
}

func long() []phase {
	repeated := raced(light)
	repeated.name, repeated.flags = "three times in any order", append(repeated.flags, "-count=3", "-shuffle=on")
	vet := func(os string) step {
		return step{name: "vet " + os, command: []string{"go", "vet", "./runtime/...", "./examples/...", "./cmd/..."},
			env: []string{"GOOS=" + os}}
	}
	const topology = "AF_TEST_TOPOLOGY=standalone"
	inParallel, alone := together("standalone MongoDB", topology)
	standalone := append(slices.Concat(adapters("standalone MongoDB", topology)...), inParallel, alone)
	fuzzing := fuzz("60s")
	for i := range fuzzing { // the other lanes mostly wait
		fuzzing[i].nice = true
	}
	chaos := func(pkg string) step {
		return step{name: "chaos", packages: only(pkg), flags: []string{"-run=Chaos", "-chaos=3m"}}
	}
	jobs := func(pkg string) step {
		return step{name: "jobs", packages: only(pkg), flags: []string{"-run=KilledSchedulers", "-jobs=30s"}}
	}
	long := func(name, pkg string) step {
		return step{name: name, packages: only(pkg), flags: []string{"-tags=long", "-run=Long"}}
	}
	generator := []step{
		long("release", "internal/release"),
		long("conformance", "runtime/backend/mongo"),
		{name: "simulation", packages: only("internal/fault"), flags: []string{"-run=Storm", "-seeds=20000"}, nice: true},
		{name: "generator", packages: only("gen"), nice: true,
			flags: []string{"-run=ManifestNeverHidesChange|LargeModule", "-sound=2m", "-large"}},
		{name: "differential", packages: only("runtime/backend/mongo"),
			flags: []string{"-run=TestStoreMatchesMemory", "-rapid.checks=60"}, nice: true},
	}
	return []phase{
		{{repeated}},
		{
			{chaos("runtime/backend/embedded"), jobs("runtime/backend/embedded"), long("soak", "runtime/backend/embedded")},
			{chaos("runtime/backend/servers"), jobs("runtime/backend/servers"),
				long("soak, elections", "runtime/backend/servers")},
			fuzzing,
		},
		{standalone, generator},
		{
			{{name: "RabbitMQ 4 and Redis 8", command: []string{"make", "test-rabbitmq4"}}},
			{{name: "dependencies", command: []string{"make", "dependencies"}}},
			{long("two hosts", "internal/devstack/stack"), long("elections", "internal/devstack"),
				vet("darwin"), vet("windows")},
		},
	}
}
