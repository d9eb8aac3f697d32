/** Entry of a thread that computes until it is terminated, behind everything else on its core, as the service's solvers do. */
import { platform, setPriority } from 'node:os';

const solverNiceness = 10;

// Of a thread on Linux; elsewhere it would be the whole process's.
if (platform() === 'linux') setPriority(solverNiceness);
for (let turns = 0; ; turns = (turns + 1) | 0);
