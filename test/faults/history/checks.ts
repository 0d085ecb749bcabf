import type { Check } from './check.js'
import { corruptOffsets, drainIncomplete, truncation } from './checks/drains.js'
import { lostWrite } from './checks/lost_write.js'
import { publisherOrder, realTimeOrder } from './checks/order.js'
import { ackedOffsetDiffers, oneValueAtTwoOffsets, twoValuesAtOneOffset } from './checks/places.js'
import { failedWriteRead, phantom, readLost } from './checks/read_values.js'

/** All checks. A later feature adds a file in checks/ and a line here. */
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
]
