"""Load by k6 on a running demo, and whether everything agrees afterwards: `make loadtest`, `make soak`.

`__main__` reads the options, `demo` finds or starts the demo and makes a user with keys, `run` runs a script and
gathers what all sides say, `outcome` compares that, `memory` looks at the workers meanwhile, `report` prints it all and
puts a soak into docs/performance.md.
"""
