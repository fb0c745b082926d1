//go:build !race

package fault_test

const defaultSeeds = 2000
