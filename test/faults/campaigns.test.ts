import { readdir } from 'node:fs/promises'
import * as assert from 'uvu/assert'
import { suite } from '../helpers/suite.js'
import { campaigns } from './campaigns.js'
import { plants } from './planted/plants.js'

const test = suite('faults/campaigns')

test('every campaign of the folder is in the table, and its short rounds are in the test run', async () => {
  const files = await readdir(new URL('./campaigns/', import.meta.url))
  const named = (pattern: RegExp): string[] =>
    files.flatMap((file) => pattern.exec(file)?.[1]?.replaceAll('_', '-') ?? []).sort()
  const inTable = campaigns.map(({ name }) => name).sort()
  assert.equal(named(/^([a-z_]+)\.js$/), inTable)
  assert.equal(named(/^([a-z_]+)\.test\.js$/), inTable)
})

test('every planted fault names a campaign that must find it', () => {
  for (const [name, { campaign }] of plants)
    assert.ok(
      campaigns.some((one) => one.name === campaign),
      `${name}: ${campaign}`,
    )
})

test.run()
