import type { Check } from '../check.js'
import { recoveries } from '../recoveries.js'

export const noRecovery: Check = {
  name: 'no-recovery',
  title: 'of the publishes after healing none succeeded, or none in time',
  run({ index, options, report }) {
    const limitMs = options.recoveryMsMax ?? Number.POSITIVE_INFINITY
    for (const { heal, recoveryMs, failedAttempts } of recoveries(index)) {
      const healed = `${heal.name} was healed at ${heal.at} us`
      if (recoveryMs !== undefined && recoveryMs > limitMs) {
        report(() => `${healed}, and a publish succeeded only ${recoveryMs} ms later (limit ${limitMs} ms)`)
      } else if (recoveryMs === undefined && failedAttempts > 0) {
        report(() => `${healed}, and none of ${failedAttempts} publishes started since then has succeeded`)
      }
    }
  },
}
