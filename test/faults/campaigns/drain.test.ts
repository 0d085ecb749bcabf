import { testShortCampaign } from '../short_campaign.js'
import { drain } from './drain.js'

testShortCampaign(drain)
