package orders

// Order is the type that docs/clients.md puts into a package of its own.
type Order struct{ Item string }
