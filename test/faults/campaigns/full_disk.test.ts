import { testShortCampaign } from '../short_campaign.js'
import { fullDisk } from './full_disk.js'

testShortCampaign(fullDisk)
