package conform

import (
	"testing"
)

// Store tests a store: the state table, each method's contract, and concurrency.
func Store(t *testing.T, open Open, o Options) {
	t.Run("transitions", func(t *testing.T) {
		run(t, open, o, []behaviour{{"only_allowed_transitions", everyPair}})
	})
	for _, group := range []struct {
		name       string
		behaviours []behaviour
	}{
		{"insert", insertBehaviours},
		{"claim", claimBehaviours},
		{"times", timeBehaviours},
		{"settle", settleBehaviours},
		{"attempts", attemptBehaviours},
		{"fields", fieldBehaviours},
		{"versions", versionBehaviours},
		{"owners", ownerBehaviours},
		{"suspects", suspectBehaviours},
		{"promote", promoteBehaviours},
		{"subtasks", subtaskBehaviours},
		{"stop", stopBehaviours},
		{"unfinished", unfinishedBehaviours},
		{"list", listBehaviours},
		{"filter", filterBehaviours},
		{"purge", purgeBehaviours},
		{"counts", countBehaviours},
		{"adjust", adjustBehaviours},
		{"delete", deleteBehaviours},
	} {
		t.Run(group.name, func(t *testing.T) { run(t, open, o, group.behaviours) })
	}
}
