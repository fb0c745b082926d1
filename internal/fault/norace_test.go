//go:build !race

package fault_test

// Each row of the state table comes up a hundred times in these. make test-long simulates 20,000.
const defaultSeeds = 400
