import { readFile } from 'node:fs/promises'
import * as assert from 'uvu/assert'
import { clientVersion } from '../../client/index.js'
import { suite } from '../helpers/suite.js'

const test = suite('client/version')

test('the version of the client is that of the package', async () => {
  const manifest = new URL('../../../package.json', import.meta.url)
  const { version } = JSON.parse(await readFile(manifest, 'utf8')) as { version: string }
  assert.is(clientVersion, version)
})

test.run()
