package emit

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
)

// ConstrainedFile returns the name of the Go file for a build constraint: GoFile if it is "", otherwise one with the
// first eight hex digits of the constraint's SHA-256. The go command reads no such digits as an operating system or
// architecture.
func ConstrainedFile(constraint string) string {
	if constraint == "" {
		return GoFile
	}
	return strings.TrimSuffix(GoFile, ".go") + "_" + digits(constraint) + ".go"
}

func digits(constraint string) string {
	sum := sha256.Sum256([]byte(constraint))
	return hex.EncodeToString(sum[:4])
}

// byConstraint splits a plan into one for each file. Client halves without a constraint are in the file without one,
// together with the declarations that both sides need.
func (a *plan) byConstraint() []*plan {
	files := map[string]*plan{}
	file := func(constraint string) *plan {
		if files[constraint] == nil {
			part := *a
			part.services, part.workers, part.constraint = nil, nil, constraint
			files[constraint] = &part
		}
		return files[constraint]
	}
	for _, s := range a.services {
		for _, h := range halves(s.side, s.Constraint, s.ClientConstraint) {
			half := s
			half.side, half.sharedElsewhere = h.side, h.sharedElsewhere
			file(h.constraint).services = append(file(h.constraint).services, half)
		}
	}
	for _, w := range a.workers {
		for _, h := range halves(w.side, w.Constraint, w.ClientConstraint) {
			half := w
			half.side, half.sharedElsewhere = h.side, h.sharedElsewhere
			file(h.constraint).workers = append(file(h.constraint).workers, half)
		}
	}
	var parts []*plan
	for _, constraint := range slices.Sorted(maps.Keys(files)) {
		parts = append(parts, files[constraint])
	}
	return parts
}

// A half is the part of a service or worker that one file contains.
type half struct {
	constraint string
	side
	sharedElsewhere bool
}

// halves returns the parts of a service or worker by file. The package contains the given sides of it.
func halves(sides side, server, client string) []half {
	if sides != bothSides || server == client {
		return []half{{constraint: server, side: sides}}
	}
	return []half{{constraint: client, side: clientSide}, {constraint: server, side: serverSide, sharedElsewhere: true}}
}
