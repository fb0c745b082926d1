package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Long flags have one dash or two. Values and arguments with dashes stay as they are.
func TestArguments(t *testing.T) {
	root := Command()
	sub := &cobra.Command{Use: "sub X...", Run: func(*cobra.Command, []string) {}}
	sub.Flags().Bool("dry-run", false, "")
	sub.Flags().BoolP("watch", "w", false, "")
	sub.Flags().String("reason", "", "")
	sub.Flags().Int("weight", 0, "")
	root.AddCommand(sub)
	for line, want := range map[string]string{
		"":                                      "",
		"sub a b":                               "sub a b",
		"-file x sub a":                         "--file x sub a",
		"-file sub sub a":                       "--file sub sub a",
		"sub -dry-run a":                        "sub --dry-run a",
		"sub --dry-run a -reason=b":             "sub --dry-run a --reason=b",
		"sub -dry-run=false":                    "sub --dry-run=false",
		"sub -reason -dry-run a":                "sub --reason -dry-run a",
		"sub --reason -dry-run a":               "sub --reason -dry-run a",
		"sub -reason --":                        "sub --reason --",
		"sub -weight -5 a":                      "sub --weight -5 a",
		"sub -5 a":                              "sub -- -5 a",
		"sub -5 -reason x a -.5":                "sub --reason x -- -5 a -.5",
		"sub a -- -dry-run -b":                  "sub -- a -dry-run -b",
		"sub a -- b":                            "sub a b",
		"sub - -o json":                         "sub - -o json",
		"-o json sub":                           "-o json sub",
		"-ojson sub":                            "-ojson sub",
		"-o=json -output=wide sub":              "-o=json --output=wide sub",
		"sub -w -o -w":                          "sub -w -o -w",
		"sub -typo a":                           "sub --typo a",
		"sub -help":                             "sub --help",
		"sub -h":                                "sub -h",
		"unknown -reason x":                     "unknown --reason x",
		"help sub":                              "help sub",
		"__complete -file x sub -reason y -wei": "__complete --file x sub --reason y -wei",
		"__complete sub -5 -":                   "__complete sub -5 -",
		"__complete":                            "__complete",
	} {
		if got := strings.Join(arguments(root, strings.Fields(line)), " "); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

// Every command is in a group of the help, and describes itself: in a line without a period, and with an example.
func TestCommandsAreDescribed(t *testing.T) {
	root := Command()
	if n := len(root.Commands()); n < 30 {
		t.Fatalf("%d commands", n)
	}
	for _, cmd := range root.Commands() {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: short help %q", cmd.Name(), cmd.Short)
		}
		if !cmd.Runnable() {
			continue
		}
		if !root.ContainsGroup(cmd.GroupID) {
			t.Errorf("%s is in no group", cmd.Name())
		}
		for _, line := range strings.Split(cmd.Long+"\n"+cmd.Example, "\n") {
			if len(line) > 110 {
				t.Errorf("%s: long line %q", cmd.Name(), line)
			}
		}
		for _, text := range []string{cmd.Short, cmd.Long, cmd.Example, cmd.Use} {
			if strings.Contains(text, " --") {
				t.Errorf("%s: two dashes in %q", cmd.Name(), text)
			}
		}
	}
	if slices.Contains(arguments(root, []string{"version"}), "--") {
		t.Error("-- without need")
	}
}
