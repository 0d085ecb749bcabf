import type { Check } from './check.js'
import { committedGoesBack, committedRedelivered } from './checks/committed.js'
import { corruptOffsets, drainIncomplete, truncation } from './checks/drains.js'
import { lostWrite } from './checks/lost_write.js'
import { publisherOrder, realTimeOrder } from './checks/order.js'
import { doubleOwner, staleCommit } from './checks/ownership.js'
import { ackedOffsetDiffers, oneValueAtTwoOffsets, twoValuesAtOneOffset } from './checks/places.js'
import { assignmentSkip, pollBack, pollSkip } from './checks/polls.js'
import { committedUnprocessed, groupMissed } from './checks/processed.js'
import { failedWriteRead, phantom, readLost } from './checks/read_values.js'
import { noRecovery } from './checks/recovery.js'

/**
 * All checks. A new feature adds a file in checks/ and a line here; checks of queue groups (a delivery after a
 * confirmed
 * acknowledgement, attempts over the limit) also need kinds of calls in history.ts and their place in the index.
 */
export const checks: readonly Check[] = [
  lostWrite,
  phantom,
  failedWriteRead,
  readLost,
  twoValuesAtOneOffset,
  oneValueAtTwoOffsets,
  ackedOffsetDiffers,
  realTimeOrder,
  publisherOrder,
  truncation,
  drainIncomplete,
  corruptOffsets,
  pollSkip,
  pollBack,
  assignmentSkip,
  staleCommit,
  doubleOwner,
  committedGoesBack,
  committedRedelivered,
  committedUnprocessed,
  groupMissed,
  noRecovery,
]
