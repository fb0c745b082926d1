package contract

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/afgen/afgen/gen/ir"
)

// A drawnType is a struct, map or slice that may refer to types, including itself, by number.
type drawnType struct {
	kind    string
	members []drawnMember
}

type drawnMember struct {
	name   string
	to     int // the number of a type; other numbers mean int
	behind string
}

func drawTypes(t *rapid.T) []drawnType {
	n := rapid.IntRange(1, 6).Draw(t, "types")
	types := make([]drawnType, n)
	for i := range types {
		types[i].kind = rapid.SampledFrom([]string{"struct", "struct", "map", "slice"}).Draw(t, "kind")
		for j := range rapid.IntRange(0, 3).Draw(t, "members") {
			types[i].members = append(types[i].members, drawnMember{
				name:   fmt.Sprintf("m%d", j),
				to:     rapid.IntRange(0, n).Draw(t, "to"),
				behind: rapid.SampledFrom([]string{"pointer", "slice", "map"}).Draw(t, "behind"),
			})
		}
	}
	return types
}

// define defines several copies of types. rnd chooses the copy for each reference and the order of fields. All
// definitions of type 0 have the same JSON for any rnd and copies.
func define(types []drawnType, copies int, rnd *rand.Rand) *ir.Package {
	mention := func(to int) ir.Type {
		if to == len(types) {
			return integer
		}
		return named(fmt.Sprintf("T%d_%d", to, rnd.IntN(copies)))
	}
	defs := map[string]ir.Def{}
	for i, typ := range types {
		for c := range copies {
			var members []ir.Member
			for _, m := range typ.members {
				to := mention(m.to)
				behind := map[string]ir.Type{"pointer": pointer(to), "slice": slice(to), "map": mapOf(text, to)}[m.behind]
				members = append(members, member(m.name, behind))
			}
			rnd.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
			def := ir.Def{Members: members}
			switch typ.kind {
			case "map":
				def = alias(mapOf(text, mention(i)))
			case "slice":
				def = alias(slice(mention((i + 1) % len(types))))
			}
			defs[fmt.Sprintf("T%d_%d", i, c)] = def
		}
	}
	return shop(defs)
}

func TestFingerprintDependsOnStructure(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		types := drawTypes(t)
		seed := rapid.Uint64().Draw(t, "seed")
		copies := rapid.IntRange(1, 3).Draw(t, "copies")
		once := typeText(define(types, 1, rand.New(rand.NewPCG(0, 0))), named("T0_0"))
		often := typeText(define(types, copies, rand.New(rand.NewPCG(seed, 0))), named("T0_0"))
		if once != often {
			t.Fatalf("defined once:\n%s\ndefined %d times:\n%s", once, copies, often)
		}
		for m := range types[0].members {
			changed := append([]drawnType(nil), types...)
			changed[0].members = append([]drawnMember(nil), types[0].members...)
			changed[0].members[m].name += "x"
			renamed := typeText(define(changed, 1, rand.New(rand.NewPCG(0, 0))), named("T0_0"))
			if types[0].kind == "struct" && renamed == once {
				t.Fatalf("renaming a member has no effect: %s", once)
			}
		}
	})
}

func TestFingerprintIsIndependentOfOtherTypes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		types := drawTypes(t)
		p := define(types, 1, rand.New(rand.NewPCG(0, 0)))
		for i := range types {
			name := fmt.Sprintf("T%d_0", i)
			p.Workers = append(p.Workers, ir.Worker{Name: name, Payload: named(name)})
		}
		for name, w := range Of(p).Workers {
			if want := TypeFingerprint(p, named(name)); w.Payload.Fingerprint != want {
				t.Fatalf("fingerprint of %s: %s in the contract, %s alone", name, w.Payload.Fingerprint, want)
			}
		}
	})
}
