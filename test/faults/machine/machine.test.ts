import { existsSync } from 'node:fs'
import { open, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as assert from 'uvu/assert'
import { suite, type TestContext } from '../../helpers/suite.js'
import { LoopVolume, loopVolumeUnavailable } from './loop_volume.js'
import type { Unavailable } from './requirements.js'

const test = suite('faults/machine')

async function skipIf(context: TestContext, unavailable: Unavailable): Promise<void> {
  const reason = await unavailable()
  if (reason !== undefined) context.skip(reason)
}

test('a power cut loses what was not synced, and keeps what was', async (context) => {
  await skipIf(context, loopVolumeUnavailable)
  const volume = await LoopVolume.create(context, { sizeBytes: 32 * 1024 * 1024 })
  const kept = join(volume.dir, 'kept')
  const lost = join(volume.dir, 'lost')
  const bytes = context.random().bytes(100_000)
  for (let round = 0; round < 2; round++) {
    const file = await open(kept, 'w')
    await file.writeFile(bytes)
    await file.sync()
    await file.writeFile(bytes)
    await file.close()
    await writeFile(lost, bytes)
    await volume.cutPower()
    const error = await readFile(kept).catch((cause: NodeJS.ErrnoException) => cause)
    assert.is((error as NodeJS.ErrnoException).code, 'EIO', 'nothing can be read after the cut')
    await volume.unmount()
    await volume.mount()
    assert.equal(await readFile(kept), Buffer.from(bytes), 'the synced part alone')
    assert.not(existsSync(lost))
  }
})

test.run()
