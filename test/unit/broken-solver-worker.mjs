// A solver thread that never starts.
throw new Error('no solver here');
